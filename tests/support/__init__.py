"""What the tests share: servers, readers of CloudWatch's formats, and an admin's requests."""
