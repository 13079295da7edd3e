"""Several generators in one answer: their lists, their quotas, and the cap per advertiser."""
