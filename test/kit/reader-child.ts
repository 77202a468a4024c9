// One workflow in a process of its own: for every line on its input it reads one credential once and prints what came, as a line of JSON.
import { createInterface } from 'node:readline';

const [, , url = '', token = ''] = process.argv;

for await (const _line of createInterface({ input: process.stdin })) {
  const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  const body = (await answer.json()) as { version?: number; code?: string; value?: { access_token?: string } };
  const { version, code } = body;
  console.log(JSON.stringify({ status: answer.status, version, code, accessToken: body.value?.access_token }));
}
