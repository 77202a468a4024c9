// Every connector by its id. Generated from rotation/connectors/ by test/rotation/connectors.test.ts: never edited by hand.
import type { Connector } from './connector.ts';
import { connector as genericOauth2 } from './connectors/generic-oauth2.ts';
import { connector as localSandbox } from './connectors/local-sandbox.ts';

export const connectors: ReadonlyMap<string, Connector> = new Map(
  [genericOauth2, localSandbox].map((connector) => [connector.id, connector]),
);
