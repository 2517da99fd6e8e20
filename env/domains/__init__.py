"""The domains, a folder each; `env.domain` discovers them."""
