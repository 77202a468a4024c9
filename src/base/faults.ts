// Named places where a test build can crash, fail or stall the process (D11). A production build passes NO_FAULTS.

export const FAULT_POINTS = [
  'cell.before-commit',
  'cell.after-commit',
  'tenant.after-row',
  'tenant.after-cell',
  'keys.after-new-version',
  'keys.mid-rewrap',
  'keys.before-destroy',
  'root.after-key',
  'root.after-switch',
  'root.after-place',
  'root.mid-register',
  'root.mid-cell',
  'root.before-finish',
  'root.after-finish',
  'refresh.after-lease',
  'refresh.after-intent',
  'refresh.before-call',
  'refresh.after-call',
  'refresh.before-store',
  'refresh.after-store',
  'connect.before-exchange',
  'connect.after-exchange',
  'connect.after-store',
  'review.before-call',
  'review.after-call',
  'revoke.before-call',
  'revoke.after-call',
  'rotate.after-intent',
  'rotate.before-call',
  'rotate.after-call',
  'rotate.before-store',
  'rotate.after-store',
  'retire.before-call',
  'retire.after-call',
  'webhook.before-call',
  'webhook.after-call',
  'witness.before-write',
] as const;
export type FaultPoint = (typeof FAULT_POINTS)[number];

export interface Faults {
  /** May throw, kill the process, or return; a no-op outside a test build. */
  at(point: FaultPoint): void;
}

export const NO_FAULTS: Faults = { at: () => {} };
