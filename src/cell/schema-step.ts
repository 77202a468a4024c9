// What a schema step is, apart from the steps themselves.

export type CellKind = 'home' | 'tenant';

export interface SchemaStep {
  readonly version: number;
  readonly name: string;
  readonly script: string;
  /** Rows that are sealed change too: after the script, by the program that has the keys (carry-rows.ts). */
  readonly carries?: true;
}
