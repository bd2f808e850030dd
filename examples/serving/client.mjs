// Predict a photo by a service: node client.mjs http://127.0.0.1:8000 PHOTO. The token is in HEADSTART_TOKEN.
import { readFile } from 'node:fs/promises';

const [address, path] = process.argv.slice(2);
const headers = { 'Content-Type': 'application/octet-stream', Authorization: `Bearer ${process.env.HEADSTART_TOKEN ?? ''}` };
const response = await fetch(`${address}/v1/predict?top_k=3`, { method: 'POST', headers, body: await readFile(path) });
const answer = await response.json();
if (!response.ok) throw new Error(answer.error.message);
console.log(answer.predictions[0]);
