// The type of a schema step.

export type CellKind = 'home' | 'tenant';

export interface SchemaStep {
  readonly version: number;
  readonly name: string;
  readonly script: string;
  /** The step also changes sealed rows, which needs the keys: carry-rows.ts does that after the script. */
  readonly carries?: true;
}
