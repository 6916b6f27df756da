// The two things of X.509 that a device makes itself, written by hand: a self-signed certificate (SPEC §7.1)
// and a certificate signing request (§7.3). The key is an EC P-256 key.

import { createPublicKey, randomBytes, sign } from 'node:crypto';

const tlv = (tag, ...content) => {
  const body = Buffer.concat(content);
  if (body.length < 0x80) return Buffer.concat([Buffer.of(tag, body.length), body]);
  if (body.length < 0x100) return Buffer.concat([Buffer.of(tag, 0x81, body.length), body]);
  return Buffer.concat([Buffer.of(tag, 0x82, body.length >> 8, body.length & 0xff), body]);
};
const sequence = (...content) => tlv(0x30, ...content);
const set = (...content) => tlv(0x31, ...content);
const utf8 = (text) => tlv(0x0c, Buffer.from(text, 'utf8'));
const utcTime = (text) => tlv(0x17, Buffer.from(text, 'latin1'));
const bits = (bytes) => tlv(0x03, Buffer.of(0), bytes);
const integer = (bytes) => tlv(0x02, bytes);
const small = (n) => integer(Buffer.of(n));
const oid = (...bytes) => tlv(0x06, Buffer.from(bytes));

const ECDSA_SHA256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02)); // 1.2.840.10045.4.3.2
const COMMON_NAME = oid(0x55, 0x04, 0x03); // 2.5.4.3

const commonName = (cn) => sequence(set(sequence(COMMON_NAME, utf8(cn))));

// spki is the DER SubjectPublicKeyInfo of a private key.
export const spki = (key) => createPublicKey(key).export({ type: 'spki', format: 'der' });

const signed = (key, content) => sequence(content, ECDSA_SHA256, bits(sign('sha256', content, key)));

// selfSigned makes a certificate whose names and times say nothing: nobody looks at them.
export function selfSigned(key, cn) {
  const serial = randomBytes(8);
  serial[0] = (serial[0] & 0x3f) | 0x40; // positive, and no needless zero
  return signed(key, sequence(
    tlv(0xa0, small(2)), integer(serial), ECDSA_SHA256, commonName(cn),
    sequence(utcTime('200101000000Z'), utcTime('491231235959Z')), commonName(cn), spki(key)));
}

// request makes a PKCS #10 request without attributes.
export const request = (key, cn) => signed(key, sequence(small(0), commonName(cn), spki(key), tlv(0xa0)));

export const pem = (der) => `-----BEGIN CERTIFICATE-----\n${der.toString('base64').match(/.{1,64}/g).join('\n')}\n-----END CERTIFICATE-----\n`;
