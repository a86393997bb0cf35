/*
 * Prints native/seeds.h: values of --random-seed with which V8 finds the secret of its hash tables soon. V8 14 draws three
 * primes and tests each candidate with up to twelve Miller-Rabin rounds of 25 us (rapidhash_make_secret in V8's
 * third_party/rapidhash-v8/secret.h, called by HashSeed::InitializeRoots): 98 rounds on average, 36 at best. What the seeds
 * are worth is measured in docs/adr/0043-flags-and-the-code-cache.md. A tool; nothing of it is in conmon.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SEEDS 512
#define ROUNDS_MAX 44

__extension__ typedef unsigned __int128 wide;

static int rounds;

static uint64_t multiply(uint64_t a, uint64_t b, uint64_t modulus)
{
	return (uint64_t)((wide)a * b % modulus);
}

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t modulus)
{
	uint64_t result = 1;

	for (; exponent > 0; exponent >>= 1, base = multiply(base, base, modulus))
		if (exponent & 1)
			result = multiply(result, base, modulus);
	return result;
}

/* One round of Miller and Rabin for an odd number. */
static bool passes(uint64_t number, uint64_t base)
{
	int twos = __builtin_ctzll(number - 1);
	uint64_t value = power(base, (number - 1) >> twos, number);

	rounds++;
	if (value == 1 || value == number - 1)
		return true;
	for (int i = 1; i < twos; i++) {
		value = multiply(value, value, number);
		if (value == number - 1)
			return true;
	}
	return false;
}

static bool is_prime(uint64_t number)
{
	static const uint64_t bases[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};

	for (size_t i = 0; i < sizeof(bases) / sizeof(*bases); i++)
		if (!passes(number, bases[i]))
			return false;
	return true;
}

/* V8's finalizer of MurmurHash3, which spreads the seed over the generator's state. */
static uint64_t spread(uint64_t hash)
{
	hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdULL;
	hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return hash ^ hash >> 33;
}

/* The first 64 bits that V8's generator gives for a seed (xorshift128+). */
static uint64_t first_random(uint64_t seed)
{
	uint64_t low = spread(seed), high = spread(~spread(seed)), before = low;

	before ^= before << 23;
	before ^= before >> 17;
	before ^= high;
	before ^= high >> 26;
	return high + before;
}

static uint64_t next_draw(uint64_t *state)
{
	*state += 0x2d358dccaa6c78a5ULL;
	wide product = (wide)*state * (*state ^ 0x8bb84b93962eacc9ULL);
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The bytes that have four bits each, rising. */
static size_t balanced_bytes(uint64_t *bytes)
{
	size_t count = 0;

	for (unsigned int byte = 0; byte < 256; byte++)
		if (__builtin_popcount(byte) == 4)
			bytes[count++] = byte;
	return count;
}

/* How many rounds the secret takes; gives up above ROUNDS_MAX. */
static int rounds_of(uint64_t seed)
{
	uint64_t bytes[70], secret[3], state = first_random(seed);
	size_t count = balanced_bytes(bytes);

	rounds = 0;
	for (int i = 0; i < 3;) {
		secret[i] = 0;
		for (int shift = 0; shift < 64; shift += 8)
			secret[i] |= bytes[next_draw(&state) % count] << shift;
		bool fits = (secret[i] & 1) == 1;
		for (int j = 0; fits && j < i; j++)
			fits = __builtin_popcountll(secret[j] ^ secret[i]) == 32;
		if (fits && is_prime(secret[i]))
			i++;
		if (rounds > ROUNDS_MAX)
			break;
	}
	return rounds;
}

int main(void)
{
	puts("/* Made by native/seeds.c, which says what they are. */");
	for (uint64_t seed = 1, found = 0; found < SEEDS; seed++) {
		if (rounds_of(seed) > ROUNDS_MAX)
			continue;
		found++;
		printf("%llu,%c", (unsigned long long)seed, found % 16 == 0 ? '\n' : ' ');
	}
	return 0;
}
