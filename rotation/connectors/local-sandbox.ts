// The authorization server that ships with Keyturn (rotation/sandbox) or any other on this machine, for trying things out.
// It may reach loopback addresses only, and only where the server allows local sandboxes.
import type { Connector } from '../connector.ts';
import { connector as generic } from './generic-oauth2.ts';

export const connector: Connector = { ...generic, id: 'local-sandbox', title: 'Local sandbox (OAuth 2 on this machine)' };
