/** What the attach client shows to people: the message names the thing and what is wrong with it. */

export class ClientError extends Error {
  override readonly name = 'ClientError';
}
