import { openNodeSql } from '../../src/node/sqlite.ts';
import { anchorCases } from './anchor-cases.ts';

anchorCases(async (use) => use(openNodeSql(':memory:')), 45);
