// Where a call goes when the settings replace a host of its connector. It must never change path or query.

export interface Replacements {
  /** Replacements of single hosts. */
  readonly baseUrls?: Readonly<Record<string, string>> | undefined;
  /** The sandbox in place of every host, as `<sandbox>/<host><path>`. */
  readonly sandbox?: string | undefined;
}

export function movedUrl(url: URL, { sandbox, baseUrls }: Replacements): string {
  const base =
    sandbox === undefined
      ? baseUrls !== undefined && Object.hasOwn(baseUrls, url.host)
        ? baseUrls[url.host]
        : undefined
      : `${sandbox.replace(/\/+$/, '')}/${url.host}`;
  return base === undefined ? url.href : `${base.replace(/\/+$/, '')}${url.pathname}${url.search}`;
}
