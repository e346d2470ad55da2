"""What brings rules and effects together: the deployer, one worker for each environment, events."""
