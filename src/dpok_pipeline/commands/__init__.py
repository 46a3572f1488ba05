"""What `kedro …` offers."""
