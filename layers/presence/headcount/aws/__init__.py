"""AWS's wire, as far as the hot paths need it: signed requests over connections that stay open."""
