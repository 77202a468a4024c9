import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createNodeEgress } from '../../src/node/egress.ts';
import { selfSigned } from '../kit/certificate.ts';
import { realClock, requestTo, textOf } from '../rotation/kit.ts';

const certificate = selfSigned('provider.test', ['provider.test']);

describe('the node egress over TLS', () => {
  let server: Server;
  let port: number;
  const hosts: unknown[] = [];
  beforeAll(async () => {
    server = createServer({ ...certificate }, (req, res) => {
      if (req.url === '/flood') {
        const hint = () => {
          for (let i = 0; i < 200; i++) res.writeEarlyHints({ link: '</x>; rel=preload' });
          if (!res.destroyed) setImmediate(hint);
        };
        hint();
        return;
      }
      hosts.push(req.headers.host);
      res.end('over TLS');
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    port = (server.address() as AddressInfo).port;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  const lookup = async () => ['127.0.0.1'];
  const trusting = createNodeEgress({ clock: realClock, lookup, trustedRoots: certificate.cert });

  it('checks the certificate against the name although it connects to a pinned address', async () => {
    expect(textOf((await trusting.send(requestTo(`https://provider.test:${port}/`))).body)).toBe('over TLS');
    expect(hosts).toEqual([`provider.test:${port}`]);
  });

  it('cuts off hints that never end, long before the deadline', async () => {
    const started = Date.now();
    const flooding = trusting.send(requestTo(`https://provider.test:${port}/flood`, { timeoutMs: 10_000 }));
    await expect(flooding).rejects.toMatchObject({ reason: 'answer_too_large', sent: 'unknown' });
    expect(Date.now() - started).toBeLessThan(5_000);
  });

  it('sends nothing to a server with another name or an untrusted certificate', async () => {
    const before = hosts.length;
    const otherName = trusting.send(requestTo(`https://other.test:${port}/`));
    await expect(otherName).rejects.toMatchObject({
      reason: 'tls_failed',
      sent: 'not_sent',
      evidence: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
    const untrusting = createNodeEgress({ clock: realClock, lookup });
    await expect(untrusting.send(requestTo(`https://provider.test:${port}/`))).rejects.toMatchObject({
      reason: 'tls_failed',
      sent: 'not_sent',
    });
    expect(hosts).toHaveLength(before);
  });
});
