"""Training of JDAM and of its ablation SDE."""
