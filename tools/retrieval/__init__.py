"""The literature: passages with provenance, the engines that search them, and the starter corpus."""
