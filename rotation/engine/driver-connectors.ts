// Finds the connectors on Node: every file in rotation/connectors is one, and nothing lists them by hand (D7).
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Connector } from '../connector.ts';

const CONNECTORS = new URL('../connectors/', import.meta.url);

export async function loadConnectors(): Promise<ReadonlyMap<string, Connector>> {
  const files = readdirSync(fileURLToPath(CONNECTORS)).filter((file) => file.endsWith('.ts'));
  const modules = await Promise.all(
    files.map((file) => import(new URL(file, CONNECTORS).href) as Promise<{ connector: Connector }>),
  );
  return new Map(modules.map(({ connector }) => [connector.id, connector]));
}
