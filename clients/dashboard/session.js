/** Signing in at an OpenID Connect issuer, as a public client: authorization code with PKCE. The session is this tab's. */

import { None, allowInsecureRequests, authorizationCodeGrantRequest, calculatePKCECodeChallenge, generateRandomCodeVerifier, generateRandomNonce, generateRandomState, processAuthorizationCodeResponse, processRefreshTokenResponse, refreshTokenGrantRequest, revocationRequest, validateAuthResponse } from 'oauth4webapi';
import { SECOND, storageOf } from './tools.js';

const PENDING = 'headcount.sign-in'; // the sign-in under way: {state, nonce, verifier, hash}
const SESSION = 'headcount.session'; // {refreshToken, idToken, since, renewAt}: times by this computer's clock
const LONGEST_MARGIN = 60 * SECOND;
const RETRY_AFTER = 5 * SECOND;
const NEW = 30 * SECOND;
const REDIRECT_URI = `${location.origin}/dashboard`;

const storage = storageOf(() => sessionStorage);
const read = (key) => JSON.parse(storage[key] ?? 'null');
const write = (key, value) => (value ? (storage[key] = JSON.stringify(value)) : delete storage[key]);

export const session = {
  /** How to sign in, from config.json: null if it is not set up, {problem} if it does not work now. */
  config: null,
  /** Called with each renewed token. */
  renewed: () => {},
};

let timer = null;

/** The options of each request. Only an issuer on this machine may have an http address, which the server checked. */
const options = (url) => ({ [allowInsecureRequests]: url.startsWith('http:'), signal: () => AbortSignal.timeout(10 * SECOND) });
const client = () => ({ client_id: session.config.clientId });

/** Leaves for the issuer. `silent`: only if no one has to type anything there. */
export async function beginSignIn({ silent = false } = {}) {
  const { server, clientId, scope, audience } = session.config;
  const verifier = generateRandomCodeVerifier();
  const pending = { state: generateRandomState(), nonce: generateRandomNonce(), verifier, hash: location.hash };
  const url = new URL(server.authorization_endpoint);
  const asked = { client_id: clientId, redirect_uri: REDIRECT_URI, response_type: 'code', scope, state: pending.state, nonce: pending.nonce, code_challenge: await calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', ...audience, ...(silent && { prompt: 'none' }) };
  for (const [name, value] of Object.entries(asked)) url.searchParams.set(name, value);
  write(PENDING, pending);
  location.assign(url);
}

/** Whether this address is the issuer's answer. */
export const isAnswer = () => /[?&]state=/.test(location.search) && /[?&](code|error)=/.test(location.search);

/**
 * Takes the issuer's answer out of the address and exchanges its code. Returns the token. Throws an Error with a message for the screen.
 * An answer is worth something only in the tab that asked for it: a link with somebody else's code signs nobody in.
 */
export async function finishSignIn() {
  const url = new URL(location.href);
  const pending = read(PENDING);
  write(PENDING, null);
  history.replaceState(null, '', `/dashboard${pending?.hash ?? ''}`);
  if (!pending) throw new Error('This sign-in was not started in this tab. Sign in here.');
  const { server } = session.config ?? {};
  if (!server) throw new Error(session.config?.problem ?? 'Signing in is not set up here.');
  try {
    const parameters = validateAuthResponse(server, client(), url, pending.state);
    const response = await authorizationCodeGrantRequest(server, client(), None(), parameters, REDIRECT_URI, pending.verifier, { ...options(server.token_endpoint), additionalParameters: session.config.audience });
    return keep(await processAuthorizationCodeResponse(server, client(), response, { expectedNonce: pending.nonce, requireIdToken: session.config.scope.split(' ').includes('openid') }));
  } catch (error) {
    throw new Error(messageOf(error));
  }
}

function messageOf({ error, error_description: description, message }) {
  if (['login_required', 'interaction_required', 'consent_required'].includes(error)) return 'Your session has ended. Sign in again.';
  return `Signing in failed: ${description || error || message}. Try again.`;
}

/** Keeps what renews the session. Returns the token for the API. */
function keep(tokens, before) {
  const idToken = tokens.id_token ?? before?.idToken;
  const token = session.config.token === 'id' ? tokens.id_token : tokens.access_token;
  if (!token) throw new Error('the issuer returned no token for the API');
  const life = lifeOf(token) ?? (tokens.expires_in ?? 0) * SECOND;
  write(SESSION, { refreshToken: tokens.refresh_token ?? before?.refreshToken, idToken, since: Date.now(), renewAt: life ? Date.now() + life - Math.min(LONGEST_MARGIN, life / 2) : null });
  schedule();
  return token;
}

/** How long a token is valid from its issue, whatever this computer's clock says; null if it does not say so. */
function lifeOf(token) {
  try {
    const { iat, exp } = JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));
    return exp > iat ? (exp - iat) * SECOND : null;
  } catch {
    return null;
  }
}

/** Renews the session when it is due: also after a reload. */
export function schedule() {
  clearTimeout(timer);
  const known = read(SESSION);
  if (known?.renewAt && session.config?.server) timer = setTimeout(() => renew(true), Math.min(2 ** 31 - 1, Math.max(0, known.renewAt - Date.now())));
}

let renewing = null;

/** Renews the token, once at a time. Returns whether there is a new one; without a refresh token, the page leaves for the issuer and comes back. `due`: because it expires soon, not because it was refused. */
export const renew = (due = false) => (renewing ??= tryToRenew(due).finally(() => (renewing = null)));

async function tryToRenew(due) {
  const known = read(SESSION);
  const { server, audience } = session.config ?? {};
  if (!known || !server) return false;
  if (!known.refreshToken) {
    // A token that is refused when it is new would be refused again.
    if (!due && Date.now() - known.since < NEW) return false;
    await beginSignIn({ silent: true });
    return new Promise(() => {}); // the page goes
  }
  try {
    const response = await refreshTokenGrantRequest(server, client(), None(), known.refreshToken, { ...options(server.token_endpoint), additionalParameters: audience });
    const token = keep(await processRefreshTokenResponse(server, client(), response), known);
    if (!read(SESSION)) return false; // signed out meanwhile
    session.renewed(token);
    return true;
  } catch (error) {
    if (!read(SESSION)) return false;
    if (error.error || error.status) {
      // Used up or withdrawn: perhaps by a copy of this tab. The issuer may still know the person.
      write(SESSION, { ...known, refreshToken: undefined });
      return tryToRenew(true);
    }
    timer = setTimeout(() => renew(true), RETRY_AFTER); // no response
    return false;
  }
}

export const isSignedIn = () => Boolean(read(SESSION));

/** Forgets the session, also at the issuer where it offers that: then the page leaves for it and comes back. */
export async function endSession() {
  const known = read(SESSION);
  forgetSession();
  const { server, clientId } = session.config ?? {};
  if (!known || !server) return;
  if (known.refreshToken && server.revocation_endpoint) await revocationRequest(server, client(), None(), known.refreshToken, options(server.revocation_endpoint)).catch(() => {});
  if (!server.end_session_endpoint || !known.idToken) return;
  const url = new URL(server.end_session_endpoint);
  for (const [name, value] of Object.entries({ client_id: clientId, id_token_hint: known.idToken, post_logout_redirect_uri: REDIRECT_URI })) url.searchParams.set(name, value);
  location.assign(url);
}

export function forgetSession() {
  clearTimeout(timer);
  write(SESSION, null);
  write(PENDING, null);
}
