// The settings that determine where a secret is sent and for which client (D14). They are sealed in one blob with the secrets they came with,
// and a secret is used with no others. A new setting must never be free by default: every setting that is not listed as free is bound.
import { LIMITS } from '../base/limits.ts';
import { canonicalJson } from '../crypto/canonical-json.ts';
import { configOf } from './credential.ts';
import { type BoundConfig, FREE_SETTINGS, type FreeConfig, type OAuth2Config, type RetainedGrant } from './credential-kinds.ts';

const FREE: ReadonlySet<string> = new Set(FREE_SETTINGS);

export function boundPart(config: OAuth2Config): BoundConfig {
  return partOf(config, (name) => !FREE.has(name)) as BoundConfig;
}

function freePart(config: OAuth2Config): FreeConfig {
  return partOf(config, (name) => FREE.has(name)) as FreeConfig;
}

function partOf(config: OAuth2Config, isIn: (name: string) => boolean): Partial<OAuth2Config> {
  return Object.fromEntries(Object.entries(config).filter(([name, value]) => value !== undefined && isIn(name)));
}

/** The settings in a credential's row, and its current version. */
export interface SettingsRow {
  readonly connector: string | null;
  /** JSON of OAuth2Config. */
  readonly config: string;
  readonly current_version: number;
}

export interface VersionSettings {
  readonly connector: string;
  /** The bound settings of the version and the present free ones. */
  readonly config: OAuth2Config;
}

/**
 * The only settings that the secrets of `version` may be used with. Undefined for an older version that was stored before settings were
 * sealed with versions: the destination of its secrets is unknown.
 */
export function settingsOfVersion(row: SettingsRow, version: number, retained: RetainedGrant): VersionSettings | undefined {
  const present = configOf(row);
  const { settings } = retained;
  if (settings !== undefined) {
    return { connector: settings.connector, config: { ...settings.config, ...freePart(present) } };
  }
  return version === row.current_version && row.connector !== null ? { connector: row.connector, config: present } : undefined;
}

/**
 * The first bound setting in which `after` differs from `before`, as a JSON pointer; undefined if they are equal.
 * @param open parameters that come from the person or the provider at each consent; the connector keeps them within its own hosts
 */
export function changedSetting(
  before: BoundConfig,
  after: BoundConfig,
  open: ReadonlySet<string> = new Set(),
): string | undefined {
  const names = new Set([...Object.keys(before), ...Object.keys(after)] as (keyof BoundConfig)[]);
  for (const name of [...names].sort()) {
    if (name === 'parameters') {
      const [was, is] = [before.parameters ?? {}, after.parameters ?? {}];
      const keys = [...new Set([...Object.keys(was), ...Object.keys(is)])].sort();
      const changed = keys.find((key) => !open.has(key) && was[key] !== is[key]);
      if (changed !== undefined) return `/config/parameters/${changed}`;
    } else if (canonicalJson(before[name] ?? null) !== canonicalJson(after[name] ?? null)) {
      return `/config/${name}`;
    }
  }
  return undefined;
}

/** The hosts of these URLs, sorted, once each; a place without a host, e.g. a program, stands for itself. */
export function hostsOf(urls: readonly string[]): readonly string[] {
  return [...new Set(urls.flatMap((text) => hostIn(text) ?? []))].sort();
}

function hostIn(text: string): string | undefined {
  const url = URL.parse(text);
  return url?.host === '' ? text : url?.host;
}

/** The hosts as bounded text, for events. */
export function hostsAsText(hosts: readonly string[]): string {
  const text = hosts.join(' ');
  return text.length <= LIMITS.hostsTextMaxChars ? text : `${text.slice(0, LIMITS.hostsTextMaxChars)} ...`;
}
