// The connectors of OAuth grants, for tests of grants.
import { connectors as all } from '../../rotation/catalog.ts';
import type { OAuthConnector } from '../../rotation/connector.ts';

export const connectors: ReadonlyMap<string, OAuthConnector> = new Map(
  [...all].flatMap(([id, connector]) => (connector.kind === 'oauth2' ? [[id, connector] as const] : [])),
);
