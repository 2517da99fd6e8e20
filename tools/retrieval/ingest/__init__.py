"""From sources of text to an index on disk: readers, cutting, duplicates, licences, a build that survives kills."""
