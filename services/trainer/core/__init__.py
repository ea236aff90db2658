"""The trainer's thinking: functions of their arguments."""
