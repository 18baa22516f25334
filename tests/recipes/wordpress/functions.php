add_action( 'wp_footer', function () {
	wp_print_script_tag( array(
		'type'       => 'module',
		'src'        => 'https://YOUR-HTTP-URL/headcount.js',
		'data-space' => 'site:main',
	) );
} );
