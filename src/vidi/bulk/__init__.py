"""Pictures by the million: what is predicted on, who does which share of it, what is done, and what becomes of it."""
