"""The local stack: the whole product on one laptop, behind `make run`."""
