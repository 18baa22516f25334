"""AWS clients: boto3's, and this package's own for the hot paths."""
