"""Which events are positives, of which task, with what weight; which are held out to measure with."""
