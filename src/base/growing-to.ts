// Bounds a cache that exists once per tenant: lru-cache allocates `max` entries at once, hundreds of KiB for each of many tenants.

/** Options of an LRUCache that holds at most `entries` and allocates memory only as it fills. */
export function growingTo(entries: number): { maxSize: number; sizeCalculation: () => number } {
  return { maxSize: entries, sizeCalculation: () => 1 };
}
