"""What the gateway costs on the way of a request, beside no proxy at all and beside HAProxy."""
