"""tailshard: find the collision events that look least like the Standard Model."""
