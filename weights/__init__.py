"""Weights that travel with the package: one card (TOML) and one safetensors file per codec."""
