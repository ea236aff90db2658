"""Jobs, one module a model family: dataset, candidates, evaluation, gate, release."""
