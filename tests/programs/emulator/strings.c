/* The C library's own string functions, in the variants for a better CPU, at
 * all alignments and up to a page's edge. */
#include "program.h"

#include <wchar.h>

#include "variants.h"

/* Each result is brought to what the standard says of it. */
static int sign(int difference)
{
    return (difference > 0) - (difference < 0);
}

static long place(const void *found, const void *start)
{
    return found ? (const char *)found - (const char *)start : -1;
}

/* A text of `length` letters from few, and its end, before a page that cannot
 * be touched, but for `gap` bytes. */
static struct fenced text(struct random *random, size_t length, size_t gap, size_t width)
{
    struct fenced memory = fenced_end((length + 1) * width + gap, 1);
    for (size_t i = 0; i < length; i++) {
        uint32_t letter = 'a' + (uint32_t)(random_u64(random) % 4);
        if (width == 1)
            memory.bytes[i] = (unsigned char)letter;
        else
            memcpy(memory.bytes + width * i, &letter, width);
    }
    memset(memory.bytes + width * length, 0, width);
    return memory;
}

#define GET(name) __typeof__(name) *f_##name = (__typeof__(name) *)variant(#name)

static void lengths(FILE *out, struct random *random, size_t length, size_t gap)
{
    struct fenced a = text(random, length, gap, 1), w = text(random, length, gap * 4, 4);
    char *s = (char *)a.bytes;
    wchar_t *l = (wchar_t *)w.bytes;
    GET(strlen);
    GET(strnlen);
    GET(wcslen);
    GET(wcsnlen);
    size_t limit = length / 2 + gap;
    fprintf(out, "lengths %zu %zu %zu %zu %zu\n", length, f_strlen(s), f_strnlen(s, limit),
            f_wcslen(l), f_wcsnlen(l, limit));
    release(a);
    release(w);
}

static void searches(FILE *out, struct random *random, size_t length, size_t gap)
{
    struct fenced a = text(random, length, gap, 1), w = text(random, length, gap * 4, 4);
    char *s = (char *)a.bytes;
    wchar_t *l = (wchar_t *)w.bytes;
    GET(memchr);
    GET(memrchr);
    GET(rawmemchr);
    GET(strchr);
    GET(strrchr);
    GET(strchrnul);
    GET(wcschr);
    GET(wcsrchr);
    GET(wmemchr);
    GET(strspn);
    GET(strcspn);
    GET(strpbrk);
    GET(strstr);
    /* One that is rare, where there is room for it. */
    if (length > 2)
        s[random_u64(random) % length] = 'z', l[random_u64(random) % length] = 'z';
    for (const char *letter = "azq"; *letter; letter++)
        fprintf(out, "searches %zu %c %ld %ld %ld %ld %ld %ld %ld %ld\n", length, *letter,
                place(f_memchr(s, *letter, length), s), place(f_memrchr(s, *letter, length), s),
                place(f_strchr(s, *letter), s), place(f_strrchr(s, *letter), s),
                place(f_strchrnul(s, *letter), s), place(f_wcschr(l, *letter), l),
                place(f_wcsrchr(l, *letter), l),
                length ? place(f_wmemchr(l, *letter, length), l) : -1);
    fprintf(out, "sets %zu %ld %zu %zu %ld %ld\n", length, place(f_rawmemchr(s, 0), s),
            f_strspn(s, "abcd"), f_strcspn(s, "z"), place(f_strpbrk(s, "zd"), s),
            place(f_strstr(s, "zab"), s));
    release(a);
    release(w);
}

static void comparisons(FILE *out, struct random *random, size_t length, size_t gap)
{
    struct fenced a = text(random, length, gap, 1), b = fenced_end(length + 1, 1);
    struct fenced v = text(random, length, 4 * gap, 4), w = fenced_end(4 * (length + 1), 1);
    char *s = (char *)a.bytes, *t = (char *)b.bytes;
    wchar_t *l = (wchar_t *)v.bytes, *m = (wchar_t *)w.bytes;
    memcpy(t, s, length + 1);
    memcpy(m, l, 4 * (length + 1));
    GET(memcmp);
    GET(strcmp);
    GET(strncmp);
    GET(strcasecmp);
    GET(strncasecmp);
    GET(wcscmp);
    GET(wcsncmp);
    GET(wmemcmp);
    for (int differ = 0; differ < 3; differ++) {
        if (differ && length) {
            size_t at = random_u64(random) % length;
            t[at] = (char)(differ == 1 ? t[at] - 32 : 0xe9);
            m[at] = differ == 1 ? 'A' : -5;
        }
        size_t limit = length - length / 4;
        fprintf(out, "comparisons %zu %d %d %d %d %d %d %d %d\n", length,
                sign(f_memcmp(s, t, length)), sign(f_strcmp(s, t)), sign(f_strncmp(s, t, limit)),
                sign(f_strcasecmp(s, t)), sign(f_strncasecmp(t, s, limit)), sign(f_wcscmp(l, m)),
                sign(f_wcsncmp(m, l, limit)), sign(f_wmemcmp(l, m, length)));
    }
    release(a);
    release(b);
    release(v);
    release(w);
}

static void copies(FILE *out, struct random *random, size_t length, size_t gap)
{
    struct fenced a = text(random, length, gap, 1);
    char *s = (char *)a.bytes;
    struct fenced to = fenced_end(2 * length + 2, 1);
    char *t = (char *)to.bytes;
    GET(memcpy);
    GET(mempcpy);
    GET(memmove);
    GET(memset);
    GET(strcpy);
    GET(stpcpy);
    GET(strncpy);
    GET(stpncpy);
    GET(strcat);
    GET(strncat);
    GET(wmemset);
    size_t size = 2 * length + 2;
    f_memset(t, 'x', size);
    f_memcpy(t + length + 2, s, length);
    report(out, t, size, "memcpy %zu", length);
    /* Overlapping, both ways, at a distance that is no multiple of anything. */
    f_memmove(t + length, t + length + 2, length);
    f_memmove(t + 1 + gap % 7 % (length + 1), t, length);
    report(out, t, size, "memmove %zu", length);
    long end = place(f_mempcpy(t, s, length), t);
    f_memset(t + length, (int)gap - 3, length + 2);
    report(out, t, size, "mempcpy %zu %ld", length, end);
    f_strcpy(t + length + 1, s);
    end = place(f_stpcpy(t, s), t);
    report(out, t, size, "strcpy %zu %ld", length, end);
    f_strncpy(t, s, length + 1 + gap % (length + 1));
    end = place(f_stpncpy(t + 1, s, length / 2), t);
    report(out, t, size, "strncpy %zu %ld", length, end);
    t[0] = 'h';
    t[1] = 0;
    f_strcat(t, s);
    report(out, t, size, "strcat %zu", length);
    t[length / 2] = 0;
    f_strncat(t, s, length / 3);
    report(out, t, size, "strncat %zu", length);
    size_t wide = size / 4;
    f_wmemset((wchar_t *)(t + size % 4), L'\u20ac', wide);
    report(out, t, size, "wmemset %zu", wide);
    release(a);
    release(to);
}

static void run(FILE *out, unsigned scale)
{
    struct random random = {0x57};
    for (size_t length = 0; length < 70; length++) {
        size_t gap = random_u64(&random) % 64;
        lengths(out, &random, length, gap);
        searches(out, &random, length, gap);
        comparisons(out, &random, length, gap);
        copies(out, &random, length, gap);
    }
    for (unsigned i = 0; i < 12 * scale; i++) {
        /* Around the sizes from which other loops take over. */
        static const size_t from[] = {90, 127, 160, 250, 511, 1020};
        size_t length = from[i % 6] + random_u64(&random) % 9, gap = random_u64(&random) % 64;
        lengths(out, &random, length, gap);
        searches(out, &random, length, gap);
        comparisons(out, &random, length, gap);
        copies(out, &random, length, gap);
    }
}
