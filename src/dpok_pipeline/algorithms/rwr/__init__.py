"""RWR: online reward-weighted regression. Draw, weigh by the reward, regress, repeat."""
