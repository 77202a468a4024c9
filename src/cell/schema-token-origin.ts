// A later step of every cell: an access token remembers the client secret or key it was exchanged for, and dies with it.
export const TOKEN_ORIGIN_SCRIPT = `
ALTER TABLE token ADD COLUMN origin TEXT;
`;
