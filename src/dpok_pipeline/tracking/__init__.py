"""What MLflow shows first: names and headline numbers of runs, registered LoRAs, system metrics."""
