// A later step of every cell: an access token refers to the client secret or key that it was exchanged for, and ends with it.
export const TOKEN_ORIGIN_SCRIPT = `
ALTER TABLE token ADD COLUMN origin TEXT;
`;
