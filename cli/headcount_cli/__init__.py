"""`headcount`: what operators do from a terminal, with a running Headcount, local or on AWS."""
