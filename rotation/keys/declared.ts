// Placeholder until the declared calls are merged.
import type { KeyConnector, Rotator } from '../connector.ts';

export function declaredRotator(connector: KeyConnector): Rotator {
  throw new Error(connector.id);
}
