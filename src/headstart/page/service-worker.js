/**
 * Keeps the files of this folder, so that the page works without a connection. `files.js` names them and their version,
 * which changes with any of them; then all are fetched again.
 */

importScripts('files.js');

const { version, names } = self.FILES;
const CACHE = `headstart ${self.registration.scope} `; // the space: not those of pages in folders below
const KEPT = `${CACHE}${version}`;

self.addEventListener('install', (event) => {
  const fetched = names.map((name) => new Request(name, { cache: 'reload' }));
  event.waitUntil(caches.open(KEPT).then((cache) => cache.addAll(fetched)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  const drop = async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith(CACHE) && name !== KEPT);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(drop());
});

self.addEventListener('fetch', (event) => {
  if (event.request.method !== 'GET') return;
  const answer = async () => {
    const cache = await caches.open(KEPT);
    return (await cache.match(event.request, { ignoreSearch: true })) ?? fetch(event.request);
  };
  event.respondWith(answer());
});
