"""What readers see of the images themselves."""
