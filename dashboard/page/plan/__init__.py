"""Plan: predicted beside measured, and the costs that it was predicted from."""
