"""Settings of the network, sought on background alone: `tailshard tune`.

`space` draws settings, `disturb` makes anomalies out of background, `merit` judges a network, `trial` trains
and judges one, and `stage` runs all of them under Ray Tune.
"""
