"""What the product costs and takes, measured; and the gate that holds what was reached."""
