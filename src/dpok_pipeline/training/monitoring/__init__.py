"""What people look at while a training runs; none of it decides a number of the training."""
