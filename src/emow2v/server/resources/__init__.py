"""Rules of HTTP that routes share: pages of lists, entity tags and ranges of results, keys of requests that are sent again."""
