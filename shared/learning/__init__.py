"""What training and serving must do alike: models, features, evaluation."""
