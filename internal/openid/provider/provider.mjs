// Runs the npm package oidc-provider for tests, over TLS on loopback. The first line on standard input says how; each
// further line is a change, answered by a line on standard output. It ends with its standard input.
import { createServer } from 'node:https';
import { createInterface } from 'node:readline';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';

const users = new Map();
const clients = new Map();
const lifetimes = new Map(); // client id → seconds
const keys = []; // the first of an algorithm signs
let issuer, handler, answerJWKS, jwksCacheControl;

const claimsOf = (user) => ({
  sub: user.subject,
  name: user.name,
  preferred_username: user.name,
  email: user.email,
  email_verified: user.email_verified,
  groups: user.groups ?? [],
});

function configuration() {
  return {
    clients: [...clients.values()],
    jwks: { keys },
    cookies: { keys: ['only for tests'], short: { path: '/' } },
    conformIdTokenClaims: false,
    claims: {
      openid: ['sub'],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
      groups: ['groups'],
    },
    scopes: ['openid', 'profile', 'email', 'groups', 'offline_access'],
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'none'],
    pkce: { required: () => true },
    ttl: {
      AccessToken: 3600, AuthorizationCode: 60, Grant: 86400, IdToken: 600, Interaction: 3600, RefreshToken: 86400, Session: 86400,
      ClientCredentials: (ctx, token, client) => lifetimes.get(client.clientId) ?? 600,
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: '', audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: ctx.oidc.client.idTokenSignedResponseAlg } },
        }),
      },
    },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'PS256', 'EdDSA'] },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (ctx, subject) => {
      const user = users.get(subject);
      return user && { accountId: subject, claims: () => claimsOf(user) };
    },
    loadExistingGrant: consent,
  };
}

// consent gives every client what it asks for, as a company's own provider does.
async function consent(ctx) {
  const grant = new ctx.oidc.provider.Grant({
    clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId,
  });
  grant.addOIDCScope('openid profile email groups offline_access');
  await grant.save();
  return grant;
}

function rebuild() {
  const provider = new Provider(issuer, configuration());
  provider.use(async (ctx, next) => {
    if (ctx.path === '/jwks' && answerJWKS) {
      Object.assign(ctx, answerJWKS);
      return;
    }
    if (ctx.path.startsWith('/interaction/')) {
      await interaction(provider, ctx);
      return;
    }
    await next();
    if (ctx.path === '/jwks' && jwksCacheControl) ctx.set('Cache-Control', jwksCacheControl);
  });
  handler = provider.callback();
}

const page = (text) => `<!doctype html><meta charset="utf-8"><title>Sign in</title><h1>Sign in</h1>${text}
<form method="post"><label>User <input name="login" autofocus></label>
<label>Password <input name="password" type="password"></label><button type="submit">Sign in</button></form>`;

// interaction is the page where a user signs in.
async function interaction(provider, ctx) {
  if (ctx.method !== 'POST') {
    await provider.interactionDetails(ctx.req, ctx.res);
    ctx.type = 'html';
    ctx.body = page('');
    return;
  }
  let body = '';
  for await (const chunk of ctx.req) body += chunk;
  const form = new URLSearchParams(body);
  const user = users.get(form.get('login'));
  if (!user || user.password !== form.get('password')) {
    ctx.status = 401;
    ctx.type = 'html';
    ctx.body = page('<p role="alert">Wrong user or password</p>');
    return;
  }
  ctx.respond = false;
  await provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: user.subject } });
}

async function makeKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  const key = await exportJWK(privateKey);
  return { ...key, alg, use: 'sig', kid: `${alg}-${crypto.randomUUID()}` };
}

const algorithms = ['RS256', 'ES256', 'PS256', 'EdDSA'];

const changes = {
  client: ({ client, lifetime }) => {
    clients.set(client.client_id, client);
    if (lifetime) lifetimes.set(client.client_id, lifetime);
  },
  user: ({ user }) => { users.set(user.subject, user); },
  no_user: ({ subject }) => { users.delete(subject); },
  publish: async () => { for (const alg of algorithms) keys.push(await makeKey(alg)); },
  sign: () => { keys.reverse(); },
  withdraw: () => { keys.splice(algorithms.length); },
  jwks: ({ status, body, cache_control }) => {
    answerJWKS = body === undefined ? undefined : { status, body, type: 'application/json' };
    jwksCacheControl = cache_control;
  },
  stop: () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }),
  start: () => listen(server.port),
};

let server;
const listen = (port) => new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(port, '127.0.0.1', () => { server.off('error', reject); resolve(); });
});

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const lines = createInterface({ input: process.stdin });
for await (const line of lines) {
  try {
    const { do: change, ...rest } = JSON.parse(line);
    if (change === 'begin') {
      for (const alg of algorithms) keys.push(await makeKey(alg));
      server = createServer({ key: rest.key, cert: rest.certificate }, (req, res) => handler(req, res));
      await listen(0);
      server.port = server.address().port;
      issuer = `https://localhost:${server.port}`;
    } else {
      await changes[change](rest);
    }
    rebuild();
    say({ issuer });
  } catch (error) {
    say({ error: String(error?.stack ?? error) });
  }
}
process.exit(0);
